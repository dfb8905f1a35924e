//! The directory of a single replica, and the model that the Redis scripts are tested against.
