//! Servers of our own: child processes that die with us.
