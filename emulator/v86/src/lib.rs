//! Engine v86: adapter to the npm package, 32-bit Linux.
