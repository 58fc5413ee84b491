"""◆ The neighbours, a file each: containers, servers, stores. Foreign exceptions stop here and become ours."""
