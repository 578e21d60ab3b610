"""The demo: controller replicas as processes of their own run a course day of labs on a pool too small for it.

How the pieces stand to each other::

    parent   run.py       a private server, the pool, the replicas; kills one of them; the end
             cluster.py   the labs' phases: what the API server is to a controller
             watch.py     reads the ledger all along, and only reads: over-allocations, events, audits
             view.py      what a person sees meanwhile            report.py   the verdict
    replica  replica.py   the process: talks to the parent through its stdin and stdout
             controller.py  the reconcile loop, the one file to read for how a controller uses this library

There is no leader and no list of who works on what.  Every replica tries every lab; the allocation `lab/<name>` in the
ledger makes a lab the affair of one of them, for as long as that one keeps renewing it.
"""
