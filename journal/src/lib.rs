//! Placeholder header; the room is being furnished.
