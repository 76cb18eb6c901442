//! Mixers that keep one choice per group: exp(-i angle A) with A the complete graph on each group's choices.
//!
//! For one group, A joins every two states that differ in this group's choice only. Restricted to a set F of
//! designs, the states that agree in all other groups form a clique of m members, where A = J - 1 and
//! exp(-i angle A) x = exp(i angle) (x + (exp(-i angle m) - 1) mean(x)) exactly. On one-hot qubits A is the
//! sum of (XX + YY) / 2 over all pairs of the group (Hadfield et al., Algorithms 12, 34, 2019; Wang et al.,
//! arXiv 1904.09314). The mixer of a layer applies the groups one after the other, group 0 first, with one
//! angle. On a whole product space the groups commute and this is exp(-i angle sum of A); on a part of it
//! they need not, and the order is part of the definition.

use crate::phase::cos_sin;
use crate::problem::{AMPLITUDE_BYTES, STATE_BYTES_MAX};
use crate::state::{State, sum};

/// Which amplitudes a group's mixer joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    amplitudes: usize,
    form: Form,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    /// Every combination of choices; the choice of group 0 is the fastest digit of the index.
    Product { sizes: Vec<usize> },
    /// For each group, its cliques of at least two members; the choices of every design one after the other;
    /// the designs ordered by their choices.
    Listed { cliques: Vec<Cliques>, sizes: Vec<u32>, choices: Vec<u32>, order: Vec<u32> },
}

/// Members of all cliques one after the other, and where each clique ends.
#[derive(Debug, Clone, PartialEq, Default)]
struct Cliques {
    members: Vec<u32>,
    ends: Vec<u32>,
}

impl Cliques {
    fn each(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.members[start as usize..*end as usize])
    }
}

/// Why groups cannot be mixed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupsError {
    #[error("no groups, or a group without choices (group {group}); each group needs at least one choice")]
    Empty { group: usize },
    #[error("{what} do not fit the limit STATE_BYTES_MAX of {STATE_BYTES_MAX} bytes; mix fewer designs")]
    TooLarge { what: String },
    #[error("design {design} has {given} choices for {groups} groups")]
    Length { design: usize, given: usize, groups: usize },
    #[error("design {design} chooses {choice} in group {group}, which has the choices 0 to {}", .size - 1)]
    Choice { design: usize, group: usize, choice: u32, size: u32 },
    #[error("designs {first} and {second} are the same; list each once")]
    Repeated { first: usize, second: usize },
}

impl GroupsError {
    /// The stable code, explained in [`crate::CODES`].
    pub fn code(&self) -> &'static str {
        "EX-0494"
    }
}

fn check_sizes(sizes: &[u32]) -> Result<(), GroupsError> {
    match sizes.iter().position(|size| *size == 0) {
        Some(group) => Err(GroupsError::Empty { group }),
        None if sizes.is_empty() => Err(GroupsError::Empty { group: 0 }),
        None => Ok(()),
    }
}

impl Groups {
    /// Every combination of one of `sizes[g]` choices in each group g. The index of a combination is
    /// choice_0 + sizes_0 (choice_1 + sizes_1 (choice_2 + ..)).
    ///
    /// # Errors
    /// [`GroupsError::Empty`]; [`GroupsError::TooLarge`] before anything is allocated.
    pub fn product(sizes: &[u32]) -> Result<Self, GroupsError> {
        check_sizes(sizes)?;
        let most = STATE_BYTES_MAX / AMPLITUDE_BYTES;
        let count = sizes
            .iter()
            .try_fold(1u64, |count, size| count.checked_mul(u64::from(*size)).filter(|count| *count <= most));
        let Some(count) = count else {
            return Err(GroupsError::TooLarge { what: format!("the combinations of {sizes:?} choices") });
        };
        let sizes = sizes.iter().map(|size| *size as usize).collect();
        Ok(Self { amplitudes: count as usize, form: Form::Product { sizes } })
    }

    /// Listed designs, each one choice per group; the mixer stays among them.
    ///
    /// Takes 8 bytes per design and group. O(groups x designs log designs).
    ///
    /// # Errors
    /// [`GroupsError`], naming the first design that does not fit, or two that are equal.
    pub fn listed<D: AsRef<[u32]>>(sizes: &[u32], designs: &[D]) -> Result<Self, GroupsError> {
        check_sizes(sizes)?;
        let bytes = (AMPLITUDE_BYTES + 8 * sizes.len() as u64).saturating_mul(designs.len() as u64);
        if bytes > STATE_BYTES_MAX || u32::try_from(designs.len()).is_err() {
            let what = format!("{} designs with {} groups", designs.len(), sizes.len());
            return Err(GroupsError::TooLarge { what });
        }
        for (design, choices) in designs.iter().map(AsRef::as_ref).enumerate() {
            if choices.len() != sizes.len() {
                return Err(GroupsError::Length { design, given: choices.len(), groups: sizes.len() });
            }
            for (group, (&choice, &size)) in choices.iter().zip(sizes).enumerate() {
                if choice >= size {
                    return Err(GroupsError::Choice { design, group, choice, size });
                }
            }
        }
        let mut order: Vec<u32> = (0..designs.len() as u32).collect();
        let choices = |design: u32| designs[design as usize].as_ref();
        order.sort_unstable_by(|&a, &b| choices(a).cmp(choices(b)).then(a.cmp(&b)));
        if let Some(pair) = order.windows(2).find(|pair| choices(pair[0]) == choices(pair[1])) {
            return Err(GroupsError::Repeated { first: pair[0] as usize, second: pair[1] as usize });
        }
        let by_choices = order.clone();
        let cliques = (0..sizes.len())
            .map(|group| {
                let apart = |design: u32| {
                    let all = choices(design);
                    (&all[..group], &all[group + 1..])
                };
                order.sort_unstable_by(|&a, &b| apart(a).cmp(&apart(b)).then(a.cmp(&b)));
                let mut cliques = Cliques::default();
                for clique in order.chunk_by(|&a, &b| apart(a) == apart(b)).filter(|c| c.len() > 1) {
                    cliques.members.extend(clique);
                    cliques.ends.push(cliques.members.len() as u32);
                }
                cliques
            })
            .collect();
        let choices = designs.iter().flat_map(|design| design.as_ref().iter().copied()).collect();
        let form = Form::Listed { cliques, sizes: sizes.to_vec(), choices, order: by_choices };
        Ok(Self { amplitudes: designs.len(), form })
    }

    /// Number of amplitudes: combinations or designs.
    pub fn len(&self) -> usize {
        self.amplitudes
    }

    pub fn is_empty(&self) -> bool {
        self.amplitudes == 0
    }

    fn count(&self) -> usize {
        match &self.form {
            Form::Product { sizes } => sizes.len(),
            Form::Listed { cliques, .. } => cliques.len(),
        }
    }

    /// Number of choices of each group.
    pub fn sizes(&self) -> Vec<u32> {
        match &self.form {
            Form::Product { sizes } => sizes.iter().map(|size| *size as u32).collect(),
            Form::Listed { sizes, .. } => sizes.clone(),
        }
    }

    /// The choice of each group in a design.
    pub fn choices(&self, design: u32) -> Vec<u32> {
        match &self.form {
            Form::Product { sizes } => {
                let mut rest = design as usize;
                let digit = |size: &usize| {
                    let choice = rest % size;
                    rest /= size;
                    choice as u32
                };
                sizes.iter().map(digit).collect()
            }
            Form::Listed { sizes, choices, .. } => {
                choices[design as usize * sizes.len()..][..sizes.len()].to_vec()
            }
        }
    }

    /// The design with these choices, if there is one. O(groups log designs).
    pub fn find(&self, wanted: &[u32]) -> Option<u32> {
        match &self.form {
            Form::Product { sizes } => {
                let fits = wanted.len() == sizes.len()
                    && wanted.iter().zip(sizes).all(|(choice, size)| (*choice as usize) < *size);
                let index = wanted.iter().zip(sizes).rev();
                fits.then(|| index.fold(0, |at, (choice, size)| at * *size as u32 + choice))
            }
            Form::Listed { sizes, choices, order, .. } => {
                let of = |design: &u32| &choices[*design as usize * sizes.len()..][..sizes.len()];
                order.binary_search_by(|design| of(design).cmp(wanted)).ok().map(|at| order[at])
            }
        }
    }

    /// Into how many parts the mixer splits the designs: from one to another no amplitude ever flows.
    ///
    /// 1 is what a search needs; a feasible set may well have more. O(designs x groups).
    pub fn components(&self) -> usize {
        let Form::Listed { cliques, .. } = &self.form else { return 1 };
        let mut parent: Vec<u32> = (0..self.amplitudes as u32).collect();
        fn root(parent: &mut [u32], mut of: u32) -> u32 {
            while parent[of as usize] != of {
                parent[of as usize] = parent[parent[of as usize] as usize];
                of = parent[of as usize];
            }
            of
        }
        for clique in cliques.iter().flat_map(Cliques::each) {
            for pair in clique.windows(2) {
                let (a, b) = (root(&mut parent, pair[0]), root(&mut parent, pair[1]));
                parent[a.max(b) as usize] = a.min(b);
            }
        }
        (0..self.amplitudes as u32).filter(|&design| parent[design as usize] == design).count()
    }

    /// The mixer of all groups on `state`.
    pub(crate) fn mix(&self, state: &mut State, angle: f64) {
        for group in 0..self.count() {
            self.mix_one(state, group, angle);
        }
    }

    /// Takes both states back through the mixer with `angle`; gives the sum over the groups of
    /// Im <left| A_group |right>, each right after its own factor.
    pub(crate) fn back(&self, left: &mut State, right: &mut State, angle: f64) -> f64 {
        let mut slope = 0.0;
        for group in (0..self.count()).rev() {
            slope += self.slope_one(left, right, group);
            self.mix_one(left, group, -angle);
            self.mix_one(right, group, -angle);
        }
        slope
    }

    fn mix_one(&self, state: &mut State, group: usize, angle: f64) {
        match &self.form {
            Form::Product { sizes } => {
                let (stride, size) = (sizes[..group].iter().product::<usize>(), sizes[group]);
                if size > 1 {
                    let factors = Factors::new(angle, size);
                    let fibres = state
                        .re
                        .chunks_exact_mut(stride * size)
                        .zip(state.im.chunks_exact_mut(stride * size));
                    let mut sums = (vec![0.0; stride], vec![0.0; stride]);
                    for (re, im) in fibres {
                        column_sums(re, &mut sums.0);
                        column_sums(im, &mut sums.1);
                        for (re, im) in re.chunks_exact_mut(stride).zip(im.chunks_exact_mut(stride)) {
                            for i in 0..stride {
                                (re[i], im[i]) = factors.apply((re[i], im[i]), (sums.0[i], sums.1[i]));
                            }
                        }
                    }
                }
            }
            Form::Listed { cliques, .. } => {
                let mut factors = Factors::new(angle, 2);
                for clique in cliques[group].each() {
                    if factors.size != clique.len() {
                        factors = Factors::new(angle, clique.len());
                    }
                    let total = clique_sum(state, clique);
                    for &member in clique {
                        let member = member as usize;
                        let old = (state.re[member], state.im[member]);
                        (state.re[member], state.im[member]) = factors.apply(old, total);
                    }
                }
            }
        }
    }

    fn slope_one(&self, left: &State, right: &State, group: usize) -> f64 {
        let own = |i: usize| left.re[i] * right.im[i] - left.im[i] * right.re[i];
        match &self.form {
            Form::Product { sizes } => {
                let (stride, size) = (sizes[..group].iter().product::<usize>(), sizes[group]);
                if size == 1 {
                    return 0.0;
                }
                let mut sums: [Vec<f64>; 4] = std::array::from_fn(|_| vec![0.0; stride]);
                let mut total = 0.0;
                for start in (0..self.amplitudes).step_by(stride * size) {
                    let here = start..start + stride * size;
                    for (part, sums) in [&left.re, &left.im, &right.re, &right.im].into_iter().zip(&mut sums)
                    {
                        column_sums(&part[here.clone()], sums);
                    }
                    let [lr, li, rr, ri] = &sums;
                    total += sum(stride, |i| lr[i] * ri[i] - li[i] * rr[i]);
                }
                total - sum(self.amplitudes, own)
            }
            Form::Listed { cliques, .. } => {
                let mut total = 0.0;
                for clique in cliques[group].each() {
                    let (l, r) = (clique_sum(left, clique), clique_sum(right, clique));
                    total += l.0 * r.1 - l.1 * r.0;
                    total -= clique.iter().fold(0.0, |sum, &member| sum + own(member as usize));
                }
                total
            }
        }
    }
}

fn column_sums(rows: &[f64], sums: &mut [f64]) {
    sums.fill(0.0);
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

fn clique_sum(state: &State, clique: &[u32]) -> (f64, f64) {
    clique.iter().fold((0.0, 0.0), |sum, &member| {
        (sum.0 + state.re[member as usize], sum.1 + state.im[member as usize])
    })
}

/// exp(i angle), and exp(i angle) (exp(-i angle size) - 1) / size.
#[derive(Debug, Clone, Copy)]
struct Factors {
    size: usize,
    own: (f64, f64),
    of_sum: (f64, f64),
}

impl Factors {
    fn new(angle: f64, size: usize) -> Self {
        let m = size as f64;
        let ((c, s), (cm, sm)) = (cos_sin(angle), cos_sin(angle * m));
        let (re, im) = ((cm - 1.0) / m, -sm / m);
        Self { size, own: (c, s), of_sum: (c * re - s * im, c * im + s * re) }
    }

    #[inline(always)]
    fn apply(&self, x: (f64, f64), sum: (f64, f64)) -> (f64, f64) {
        let (o, f) = (self.own, self.of_sum);
        (
            o.0 * x.0 - o.1 * x.1 + (f.0 * sum.0 - f.1 * sum.1),
            o.0 * x.1 + o.1 * x.0 + (f.0 * sum.1 + f.1 * sum.0),
        )
    }
}
