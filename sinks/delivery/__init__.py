"""What stands between Vigil and every sink: queue, spool, retry with back-off, deduplication, shedding, dead letters."""

from sinks.delivery.deduplication import REMEMBERED
from sinks.delivery.delivery import Delivery
from sinks.delivery.settings import DeliverySettings
from sinks.delivery.statistics import DeliveryStatistics

__all__ = ["REMEMBERED", "Delivery", "DeliverySettings", "DeliveryStatistics"]
