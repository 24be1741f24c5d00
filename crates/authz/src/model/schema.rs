use std::collections::BTreeMap;
use std::fmt;

/// A parsed permission model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Object types by name.
    pub definitions: BTreeMap<String, Definition>,
    /// Names of the caveats. Their bodies are not interpreted; see [`crate::model::CheckContext`].
    pub caveats: Vec<String>,
}

/// One object type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// Relations by name, with the subjects each may hold.
    pub relations: BTreeMap<String, Vec<AllowedSubject>>,
    /// Permissions by name.
    pub permissions: BTreeMap<String, Expression>,
}

/// One kind of subject a relation may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSubject {
    /// The subject's object type.
    pub kind: String,
    /// Which subjects of that type.
    pub form: SubjectForm,
    /// The caveat such a relationship carries.
    pub caveat: Option<String>,
}

/// Which subjects of a type are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectForm {
    /// One object: `user`.
    Object,
    /// Everybody who has a relation to one object: `group#member`.
    Userset(String),
    /// Every object of the type: `user:*`.
    Wildcard,
}

/// How a permission is made of relations and other permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A relation or permission of the same object.
    Reference(String),
    /// `relation->name`: `name` on any object that `relation` points to.
    Arrow {
        /// The relation to follow.
        relation: String,
        /// The relation or permission to look at there.
        target: String,
    },
    /// `a + b`: any.
    Union(Vec<Expression>),
    /// `a & b`: all.
    Intersection(Vec<Expression>),
    /// `a - b`: the first and none of the rest.
    Exclusion(Vec<Expression>),
}

/// As the schema language writes it. Parts that are operators themselves are in parentheses.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, parts) = match self {
            Self::Reference(name) => return f.write_str(name),
            Self::Arrow { relation, target } => return write!(f, "{relation}->{target}"),
            Self::Union(parts) => (" + ", parts),
            Self::Intersection(parts) => (" & ", parts),
            Self::Exclusion(parts) => (" - ", parts),
        };
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                f.write_str(sign)?;
            }
            match part {
                Self::Reference(_) | Self::Arrow { .. } => part.fmt(f)?,
                _ => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}
