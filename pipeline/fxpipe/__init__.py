"""The pipeline: dry guitar, pedal chains, renders, codec tokens, shards. Import its modules."""
