"""◇ What a node's firewall shall look like, as text; who writes it into the kernel is `invoker.io.firewall.reconciler`.

Containers run strangers' code, so the node must not let them reach what its own address opens to it: the cluster's API
server, the nodes, the metadata service. Two chains of the `filter` table say so (contract, section 17):
`WHISK-FIREWALL` for every container, and before it `PER-CONTAINER-FIREWALL` for those that get rules of their own.

Everything here is one question, asked every minute and at every change: given the cluster and what `iptables-save`
printed, what has to be fed to `iptables-restore`? (`plan.plan`; nothing, where all is right.) So nothing is remembered
that another program could make untrue: whoever flushes our chain, or puts a rule before ours, is corrected by the next
asking. Others' rules are never written, not even unchanged: the text names our two chains, and the jumps into them.

- `state`: what is known of the cluster, and what a container may have of its own.
- `table`: the text of `iptables-save`, parsed as far as we have to understand it.
- `rules`: the rules, spelled as `iptables-save` spells them, so that present and wanted can be compared.
- `plan`: the difference, as text for `iptables-restore --noflush`.
"""
