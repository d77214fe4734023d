//! ingot-cpu
