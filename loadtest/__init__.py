"""◆ The other half of the contract: a controller that places, sends, waits and tells what became of each activation.

An invoker is only as good as what a controller makes of it. This package is a reference for that half: it is what load
comes from, what a small cloud on one machine is steered by, and an example for those who write a controller of their
own. What goes between the two halves is written from the contract alone (docs/contract.md); where to send is decided by
the policy objects of `invoker.policy.balancing`; what both halves ask of CouchDB and of Kafka's brokers goes through
the invoker's own clients.

    async with Controller(settings) as controller:
        activation = await controller.invoke("guest/hello", {"name": "you"}, blocking=True)

`docs/load.md` tells how to use it, `loadtest controller` runs it behind a door, `make cloud` runs a whole cloud.
"""
