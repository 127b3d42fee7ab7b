"""What is remembered of children, and how an edit behind our back is noticed."""

from __future__ import annotations

from typing import Any

from smtp_operator.cluster.children import Children, Place, Seen, digest, seen

PLACE = Place("Service", "mail", "alpha")


def entry(manager: str, fields: dict[str, Any], operation: str = "Apply") -> dict[str, Any]:
    """One of ``managedFields``."""
    return {"manager": manager, "operation": operation, "fieldsV1": fields}


def child(version: str = "5", *, uid: str = "u", digest: str = "d", owner: str = "alpha") -> Seen:
    """One that is ours."""
    return Seen(PLACE, uid, version, "", "owner-uid", owner, "hash", digest)


def test_the_digest_speaks_of_our_own_apply_only() -> None:
    """Neither others' fields nor our status, nor an update by our name, count."""
    ours: dict[str, Any] = {"f:spec": {"f:type": {}}}
    base = digest("Service", {"managedFields": [entry("smtp-operator", ours)]})
    more = [
        entry("smtp-operator", ours),
        entry("kubectl", {"f:data": {}}, "Update"),
        entry("smtp-operator", {"f:x": {}}, "Update"),
        entry("smtp-operator", {"f:status": {}}) | {"subresource": "status"},
    ]
    assert digest("Service", {"managedFields": more}) == base != ""
    assert digest("Service", {"managedFields": [entry("smtp-operator", {"f:spec": {}})]}) != base
    assert digest("Service", {}) == ""


def ports(*numbers: int) -> dict[str, Any]:
    """A claim on ports of a Service."""
    return {"f:spec": {"f:ports": {f'k:{{"port":{n},"protocol":"TCP"}}': {} for n in numbers}}}


def test_ports_that_only_others_own_count_in_a_service() -> None:
    """They are not to be there; in any other kind whatever others add is theirs."""
    ours = entry("smtp-operator", ports(25, 587))
    same = entry("kubectl-edit", ports(587), "Update")
    more = entry("kubectl-edit", ports(587, 9), "Update")
    alone = digest("Service", {"managedFields": [ours]})
    assert digest("Service", {"managedFields": [ours, same]}) == alone
    assert digest("Service", {"managedFields": [ours, more]}) != alone
    kinds = (digest("Deployment", {"managedFields": [ours, *other]}) for other in ([], [more]))
    assert len(set(kinds)) == 1


def test_only_strings_of_an_object_are_kept() -> None:
    """No body, so no Secret's content."""
    kept = seen(
        "Secret",
        {
            "data": {"tls.key": "c2VjcmV0"},
            "metadata": {
                "name": "alpha-tls",
                "namespace": "mail",
                "uid": "u",
                "resourceVersion": "9",
                "creationTimestamp": "2026-11-24T08:00:00Z",
                "annotations": {"smtp.cakemail.com/applied-hash": "h"},
                "ownerReferences": [
                    {"uid": "x", "name": "x"},
                    {"uid": "o", "name": "alpha", "controller": True},
                ],
            },
        },
    )
    assert kept == Seen(
        Place("Secret", "mail", "alpha-tls"),
        "u",
        "9",
        "2026-11-24T08:00:00Z",
        "o",
        "alpha",
        "h",
        "",
    )
    assert kept.as_object()["metadata"]["uid"] == "u"


def test_an_older_event_is_left_aside() -> None:
    """The watch lags behind our own write."""
    children = Children()
    children.applied(child("8", digest="new"))
    assert not children.note(child("7", digest="old"))
    assert not children.drifted(PLACE)
    assert not children.note(child("8", digest="new"))
    assert children.note(child("9", digest="other"))
    assert children.drifted(PLACE)


def test_after_a_start_what_is_there_counts_as_applied() -> None:
    """Drift is told from then on; the full comparison sees to the rest."""
    children = Children()
    assert children.note(child("5", digest="any"))
    assert not children.drifted(PLACE)
    assert not children.compared(PLACE)
    children.mark_compared(PLACE)
    assert children.compared(PLACE)


def test_an_object_made_anew_is_another_one() -> None:
    """Its version may even be lower."""
    children = Children()
    children.applied(child("8", uid="first", digest="a"))
    assert children.note(child("3", uid="second", digest="b"))
    assert not children.drifted(PLACE)
    assert not children.compared(PLACE)
    children.gone(PLACE, "first")
    assert children.get(PLACE) is not None
    children.gone(PLACE, "second")
    assert children.get(PLACE) is None


def test_a_change_of_owner_moves_it() -> None:
    """It is listed under one gateway at a time."""
    children = Children()
    children.note(child("1"))
    assert [c.place for c in children.of("mail", "alpha")] == [PLACE]
    children.note(child("2", owner="beta"))
    assert list(children.of("mail", "alpha")) == []
    assert [c.place for c in children.of("mail", "beta")] == [PLACE]


def test_a_list_evicts_what_it_does_not_show() -> None:
    """Of that kind and place only."""
    children = Children()
    children.note(child())
    assert children.keep_only("ConfigMap", "", set()) == []
    assert children.keep_only("Service", "other", set()) == []
    assert children.keep_only("Service", "mail", {PLACE}) == []
    assert [c.place for c in children.keep_only("Service", "", set())] == [PLACE]
    assert len(children) == 0
