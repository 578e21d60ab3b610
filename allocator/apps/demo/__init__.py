"""The demo: controller replicas, each a process, run a course day of labs on a pool that is too small for it.

`students.py` is another one, `demo --students`: a class whose students wait in line.  Both use `screen.py` for output.
The parts of the first::

    parent   run.py       a private server, the pool, the replicas; kills one of them; the end
             cluster.py   the labs' phases: the counterpart of a controller's API server
             watch.py     reads the pool all the time: over-allocations, events, audits
             view.py      the progress, for people                report.py   the result
    replica  replica.py   the process: exchanges messages with the parent through its stdin and stdout
             controller.py  the reconcile loop, the one file to read for how a controller uses this library

There is no leader and no assignment of labs to replicas.  Every replica tries every lab; the allocation `lab/<name>`
assigns a lab to one of them, for as long as that one renews it.
"""
