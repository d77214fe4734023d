//! The kernels that a model needs, for people who launch them themselves.
