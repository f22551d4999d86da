"""What brokers share: the outbox, redelivery and dead letters."""
