"""◆ The neighbours, a package for each: containers, servers, stores. Foreign exceptions stop here and become ours."""
