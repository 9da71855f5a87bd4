//! A CMDB in memory, with its rules, races and faults.
