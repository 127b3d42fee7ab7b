"""Kubernetes operator that keeps fleets of SMTP gateways as their resources say.

Import order, upper may import lower, never the reverse (held by import-linter):

    __main__                       ten lines
    app                            composition root
    workers | switchboard          keys that are taken and looked at; what was heard -> which key
    events | probes                kopf feeds keys; health and metrics of the operator
    reconcile                      observe -> decide -> render -> apply -> prune -> status
    apply                          sends what differs, repairs what drifted, deletes the rest
    observe                        reads once what a decision needs
    rollout | recorder | elector   pacing, Events, Lease
    workqueue                      dedupe, priority, back-off, requests a second
    resources | cluster            pure builders, one file a child; the only importer of kubernetes
    fleet                          pure: spec, names, hashes, checks, conditions
    telemetry                      names of every metric and log event
    settings                       the only reader of the environment
    errors                         terminal or transient
    utils                          clock, tasks
"""

from importlib.metadata import version

__version__ = version("cakemail-smtp-gateway")
