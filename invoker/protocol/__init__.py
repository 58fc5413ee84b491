"""◇ Bytes <-> meaning: everything that crosses the invoker's borders, read and written without touching the world.

What comes in: activation messages (`message`, `secrets`), action documents (`document`), a container's output
(`logs`), the runtimes manifest (`manifest`), sizes as people write them (`sizes`). What goes out: the bodies of /init
and /run (`runtime_api`), completion messages (`acknowledgement`), activation records (`record`), Docker's create body
(`container_body`).

Three rules hold in the whole room.

1. Parameter values and results are never looked into. They travel as the bytes that they were, from the message to the
   container and from the container to the record; only what is around them is decoded (`raw_json` tells how).
2. A decoder gives a value or its one error, whatever the bytes: no other exception, no depth, size or number that
   makes it slow or large. An error names what is wrong, and never shows a parameter, a key or a ciphertext.
3. What may never enter: I/O, clocks, randomness, async, logging, any state outside an object, and the heart's types
   (`policy` is a sibling; both meet in the runner).
"""
