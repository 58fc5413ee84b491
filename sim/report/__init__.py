"""◆ Reports: what a simulation found, as one page for people, and its pictures one by one for notebooks and talks.

`figures` and `lives` draw, `words` says it in sentences, `front` looks for what memory buys, `page` puts all into one
HTML file; `run` is what each of them knows of a simulation.
"""
