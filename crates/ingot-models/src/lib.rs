//! ingot-models
