"""What `comparison_page.py` says of each method in words; figures come from the results alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """A method in words.

    Attributes:
        name: As in the results.
        what: What it is.
        without: What it does without a budget.
        private: What it spends a budget on; empty where it takes none.
        strengths: What it is good for.
        limits: What it is not good for.
    """

    name: str
    what: str
    without: str
    private: str
    strengths: str
    limits: str


@dataclass(frozen=True)
class Family:
    """Methods of one idea.

    Attributes:
        title: The heading.
        idea: The idea in a paragraph.
        methods: pegai's.
        peers: Other packages' and the benchmark's own.
        page: A page of the documentation with more; empty if none.
    """

    title: str
    idea: str
    methods: tuple[About, ...]
    peers: tuple[str, ...] = ()
    page: str = ""


PEER_NAMES = {
    "sdv-ctgan": "CTGAN of sdv-dev, package `ctgan` 0.12 at its defaults",
    "sdv-tvae": "TVAE of sdv-dev, package `ctgan` 0.12 at its defaults",
    "tabular-argn": "TabularARGN of MOSTLY AI, package `mostlyai-engine` 2.7 at its defaults",
    "cart": "sequential CART of one short script of the benchmark, leaves of 15",
    "cart-smooth": "the same, leaves of 30, columns by cardinality, numbers between neighbours",
    "naive-bayes": "private naive Bayes of thirty lines on eight public bins",
}

FAMILIES = (
    Family(
        "GAN",
        "A generator turns random numbers into rows, a discriminator (or critic) learns to tell "
        "them from patients, and each learns from the other (Goodfellow et al. 2014, "
        "arXiv:1406.2661). No likelihood is stated, so nothing but samples says how good it is.",
        (
            About(
                "gan",
                "The plain tabular GAN: whole rows, no condition.",
                "Starts from the columns' own shares, and keeps the step that explains held-back "
                "patients best.",
                "Noisy tables of each column by class are charged first and are where training "
                "starts; the critic is trained by DP-SGD in the same account.",
                "The simplest of the adversarial methods; a baseline that other work can be "
                "compared with.",
                "Trees and marginals are faster to fit; on small tables most of what is "
                "good comes from where it starts.",
            ),
            About(
                "ctgan",
                "The conditional GAN after Xu et al. 2019 (arXiv:1907.00503), with bins in place "
                "of mixtures and a start at class-conditional shares.",
                "Training has only the dependence between columns left to learn; conditional "
                "sampling weighs latent vectors and needs no rejection.",
                "As `gan`: charged tables, then DP-SGD for the critic.",
                "Rare levels of the condition can be asked for; works on a few hundred rows, where "
                "the published form learns nothing.",
                "Numbers are drawn inside of bins; many steps where a tree needs one pass.",
            ),
        ),
        ("sdv-ctgan",),
        "dp-ctgan",
    ),
    Family(
        "VAE",
        "An encoder maps each patient to a cloud in a latent space, a decoder maps back, and both "
        "are trained on a bound of the likelihood (Kingma and Welling 2013, arXiv:1312.6114).",
        (
            About(
                "tvae",
                "A variational autoencoder for tables after Xu et al. 2019.",
                "The decoder starts at class-conditional shares, and the prior is fitted to the "
                "encoded rows.",
                "Charged tables, then DP-SGD for encoder and decoder together; the prior stays "
                "the standard normal one.",
                "Stable training with one loss; faster than an adversarial game.",
                "Tends to blur: unusual combinations come out rarer than they are.",
            ),
        ),
        ("sdv-tvae",),
        "networks",
    ),
    Family(
        "Hybrid of VAE and GAN",
        "The decoder of an autoencoder is the generator of a GAN (Larsen et al. 2016, "
        "arXiv:1512.09300): the autoencoder covers all patients, the critic sharpens.",
        (
            About(
                "vaegan",
                "VAE-GAN; with a budget DP-VAE-GAN.",
                "Both losses at once, on one decoder.",
                "Encoder, decoder and critic are all trained by DP-SGD, as planned events of one "
                "account.",
                "Covers better than a GAN alone, and blurs less than a VAE alone.",
                "With a budget two networks share it: each learns from noisier gradients than it "
                "would alone.",
            ),
        ),
        (),
        "networks",
    ),
    Family(
        "PATE",
        "Teachers are trained on disjoint groups of patients; only a noisy vote of theirs is "
        "released, and a student learns from votes about rows that it made itself (Jordon et al. "
        "2019, Papernot et al. 2018, arXiv:1802.08908).",
        (
            About(
                "pategan",
                "PATE-GAN with the Gaussian noisy maximum.",
                "It has a purpose only with a budget.",
                "Every answered vote is charged; a patient changes one teacher only.",
                "Noise does not grow with the size of the networks.",
                "Small tables allow few teachers, each with few patients.",
            ),
        ),
        (),
        "pate",
    ),
    Family(
        "Marginals",
        "Tables of one, two or three columns are counted (with a budget: noisily), and a model "
        "that has these tables is sampled.",
        (
            About(
                "independent",
                "Each column by itself: the floor that every method is compared with.",
                "Shares of each column.",
                "One noisy table a column.",
                "Cannot fail; right one-way tables.",
                "Keeps nothing between columns: no model can be learned from it.",
            ),
            About(
                "mst",
                "A spanning tree of pairs (McKenna, Miklau and Sheldon 2021, arXiv:2108.04978).",
                "Counts of the pairs on the tree.",
                "Noisy choice of pairs, then noisy tables of them.",
                "Fits in under a second, is easy to explain, exact conditional sampling.",
                "Dependence outside of the tree is lost.",
            ),
            About(
                "aim",
                "Pairs, and a mixture of products fitted to them, after AIM (McKenna et al. 2022, "
                "arXiv:2201.12677).",
                "Counts of pairs and the mixture.",
                "Noisy tables of pairs, by class where that is affordable.",
                "The best use of a small budget that is known for tables of this size.",
                "Numbers come from few bins; what takes three columns to see can be missed.",
            ),
        ),
        ("naive-bayes",),
        "marginals",
    ),
    Family(
        "Trees",
        "Column by column, a tree is grown on the columns before, and a cell is drawn from the "
        "patients of its leaf (synthpop; Nowok, Raab and Dibben 2016).",
        (
            About(
                "trees",
                "Sequential trees in which whether a value is missing has a tree of its own, and "
                "leaves are smoothed.",
                "Leaves are drawn towards the nodes above and to their neighbours in value, so "
                "that a patient's values are not handed on.",
                "",
                "Seconds to fit, no tuning, missing values as they are, no network.",
                "No formal guarantee: rows are drawn from small groups of patients, and attacks "
                "see more of a tree than of other methods unless leaves are smoothed.",
            ),
        ),
        ("cart", "cart-smooth"),
        "trees",
    ),
    Family(
        "Autoregressive networks",
        "Each column is foretold from those before by a network, over bins and levels "
        "(TabularARGN, arXiv:2501.12012, in any order).",
        (
            About(
                "arm",
                "Any-order autoregressive model: shares of every column given any set of others.",
                "Random orders in training; exact conditional sampling and imputation.",
                "Charged tables give codes and a start, DP-SGD trains the network.",
                "Gains with more rows; conditions and missing cells need no rejection.",
                "Needs more rows and time than trees; sampling is a pass a column.",
            ),
        ),
        ("tabular-argn",),
    ),
    Family(
        "Automatic choice",
        "A rule that was set from measurements takes one of the methods above.",
        (
            About(
                "auto",
                "Chooses by rows, columns and budget, and says why.",
                "See its reason in the fitted model.",
                "The choice rests on public figures alone.",
                "A start without knowledge of the methods.",
                "A rule from a handful of tables: compare on your own where it matters.",
            ),
        ),
        (),
        "auto",
    ),
)

SCORES = (
    ("c2st", "C2ST", "AUC of gradient boosting that tells synthetic rows from the holdout; 0.5 is "
     "ideal"),
    ("tstr", "TSTR", "AUC on the holdout of gradient boosting trained on synthetic rows; real "
     "training rows are the yardstick"),
    ("membership_distance", "MIA dist.", "AUC of the distance to the nearest synthetic row, "
     "training patients against the holdout; 0.5 tells nothing"),
    ("membership_ratio", "MIA ratio", "the same, by how much nearer the first synthetic row is "
     "than rows usually are there"),
    ("membership_best", "MIA best", "the best of nine attacks, chosen on other patients"),
    ("copies", "copies", "share of synthetic rows that equal a training row; the yardstick is the "
     "holdout's share"),
    ("missing_pairs_max", "missing", "largest error, over pairs of columns, of the rate at which "
     "both are missing"),
    ("fit_cpu", "fit CPU-s", "CPU-seconds of the fit on one thread"),
    ("sample_cpu", "sample CPU-s", "CPU-seconds of drawing as many rows as were trained on"),
    ("peak_mb", "peak MB", "most resident memory, libraries included"),
)  # fmt: skip
"""Score, heading, meaning; in the order of the tables."""
