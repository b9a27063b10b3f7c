"""fxtrain: stream token shards into a translator that names guitar pedals in order."""
