"""What the core says about the batches that an ingest put into Kafka."""

from __future__ import annotations

from sinks.items import Item, account_item
from streams.pipeline.partition import Partition
from streams.pipeline.registries import Registries
from tests.integration.kafka_wards import Bench, Ward


def replayed(bench: Bench, ward: Ward) -> list[Item]:
    """Everything said about the log of the ward's partition, with the accounts as they stand at its end."""
    core = Partition(ward.partition, live=bench.config.live, registries=Registries({ward.name: ward.registry}, 1))
    said = [item for record in bench.log(ward.partition) for item in core.apply(record).items]
    return said + [account_item(account) for account in core.core.engine.accounts()]
