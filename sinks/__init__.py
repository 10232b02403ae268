"""Where results go. A sink makes one attempt and answers for every item; `sinks.delivery` has queue, spool, retry and dead letters."""
