//! The judge on streams made by hand.
