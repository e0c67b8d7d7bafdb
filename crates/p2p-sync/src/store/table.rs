//! The two tables that hold versions: the value of each key, and the conflicts. They have the same columns, and one sequence
//! of numbers for their rows.

/// A table that holds versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// `kv_store`: one row for each key, with its value or its deletion.
    Values,
    /// `kv_conflict`: the versions that lost to one whose author had not seen them.
    Conflicts,
}

impl Table {
    pub(super) const BOTH: [Self; 2] = [Self::Values, Self::Conflicts];

    /// The table with this number in a column that says which table a row is of: 0 or 1.
    pub(super) fn numbered(number: i64) -> Self {
        if number == 0 { Self::Values } else { Self::Conflicts }
    }
}

/// A row of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowId {
    /// Its table.
    pub table: Table,
    /// Its number. Only another program gives the same one to rows of both.
    pub number: i64,
}

impl RowId {
    pub(super) fn value(number: i64) -> Self {
        let table = Table::Values;
        Self { table, number }
    }

    pub(super) fn conflict(number: i64) -> Self {
        let table = Table::Conflicts;
        Self { table, number }
    }
}

/// Defines a function that gives a statement for either table: `TABLE` between its pieces stands for the name.
macro_rules! for_either_table {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident = $first:literal $(TABLE $piece:literal)+) => {
        $(#[$doc])*
        $visibility fn $name(table: $crate::store::table::Table) -> &'static str {
            match table {
                $crate::store::table::Table::Values => concat!($first, $("kv_store", $piece),+),
                $crate::store::table::Table::Conflicts => concat!($first, $("kv_conflict", $piece),+),
            }
        }
    };
}
pub(super) use for_either_table;
