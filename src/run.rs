//! Builds the parts from checked settings, joins them, waits for the end.
