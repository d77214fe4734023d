//! ingot-engine
