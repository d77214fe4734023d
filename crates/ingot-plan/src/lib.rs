//! ingot-plan
