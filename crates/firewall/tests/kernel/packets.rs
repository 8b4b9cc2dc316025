//! Real packets between two namespaces.
