"""Kubernetes operator that keeps fleets of SMTP gateways as their resources say.

Import order, upper may import lower, never the reverse (held by import-linter):

    __main__                       ten lines
    app                            composition root
    events | probes                kopf feeds keys; health and metrics of the operator
    reconcile                      observe -> decide -> render -> apply -> prune -> status
    rollout | recorder | elector   pacing, Events, Lease
    workqueue                      dedupe, priority, back-off
    resources | cluster            pure builders, one file a child; the only importer of kubernetes
    fleet                          pure: spec, names, hashes, checks, conditions
    telemetry                      names of every metric and log event
    settings                       the only reader of the environment
    errors                         terminal or transient
"""

__version__ = "0.1.0"
