"""The protocols and data that are here, to hold the records of strangers against."""

from __future__ import annotations

from zsar_bench import record as r
from zsar_bench.catalogue import Catalogue
from zsar_bench.data_choice import OWN_DIALS, choose_data
from zsar_bench.datasets import open_dataset, prepared
from zsar_bench.errors import UserError
from zsar_bench.identity import digest
from zsar_bench.importer import store_name
from zsar_bench.protocol import STAND_IN, Protocol
from zsar_bench.protocol_variants import with_dials
from zsar_bench.specs import generated
from zsar_bench.tested import UnseenClips, unseen_clips


class Known:
    """The test clips of protocols on the data that are here; each is looked up once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._found: dict[str, tuple[Protocol | None, UnseenClips | None, str]] = {}

    def tested(self, record: r.Record) -> tuple[UnseenClips | None, str]:
        """The clips that a record's protocol tests here, or why that is not known.

        Raises:
            UserError: if the protocol of this name is another one here.
        """
        name = record.protocol.id
        key = digest([name, record.protocol.dials])  # a false record may not answer for others
        if key not in self._found:
            self._found[key] = self._look_up(record)
        protocol, tested, note = self._found[key]
        if protocol is not None:
            said = record.protocol
            same = (protocol.id, protocol.digest, protocol.dataset, list(protocol.seen))
            if (name, said.digest, said.dataset, said.seen) != same:
                raise UserError(
                    f"protocol: '{name}' has other classes or another sample rule here "
                    f"(digest {protocol.digest[:12]}, not {said.digest[:12]})"
                )
            if [list(fold) for fold in protocol.folds] != said.folds:
                raise UserError(f"protocol: the folds of '{name}' are others here")
            if (protocol.stand_in_for, dict(protocol.dials)) != (said.stand_in_for, said.dials):
                raise UserError(f"protocol: '{name}' has other dials, or other clips, here")
        if record.encoder.released is not None:
            return None, "released features: their clips' labels are not here"
        return tested, note

    def _look_up(self, record: r.Record) -> tuple[Protocol | None, UnseenClips | None, str]:
        said = record.protocol
        base = said.id.partition("[")[0]
        try:
            wanted = "auto" if base.startswith(STAND_IN) else "real"
            choice = choose_data(base, wanted, self._catalogue)
            protocol = with_dials(choice.protocol, said.dials)
        except UserError as error:
            return None, None, f"the protocol is not here ({error.what.removesuffix('.')})"
        params = {k: v for k, v in said.dials.items() if k not in OWN_DIALS}
        made = generated(choice.entry.spec)
        try:
            store = store_name(choice.entry, params) if made else choice.entry.name
            if store not in prepared():
                return protocol, None, f"the data '{store}' are not here"
            return protocol, unseen_clips(protocol, open_dataset(store)), ""
        except UserError as error:  # it lacks classes, or is damaged: no judge of anything
            return protocol, None, f"the data are no help here ({error.what.removesuffix('.')})"
