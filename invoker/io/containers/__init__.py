"""◆ What the engines share: the calls to a container, its log, its control group, the books around its removal."""
