//! The configuration file as written (`Spec`) becomes checked settings of each part.
