//! Policy as code: the YAML an operator writes.
