//! Archives of events as tables of a query engine.
