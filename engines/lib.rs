//! The engines that come with mppd.
