"""The words of the report, explained for people who are not statisticians."""

from __future__ import annotations

GLOSSARY = (
    (
        "AUC",
        "How well two groups are told apart, over all thresholds: 0.5 is guessing, 1 is perfect. "
        "For a useful model high is good; for an attack, 0.5 is good.",
    ),
    (
        "Attack (membership inference)",
        "Someone who knows a patient's record tries to find out from the synthetic data whether "
        "that patient was among those the generator learnt from. Here the attack is really run, "
        "on training patients and on holdout patients.",
    ),
    (
        "Baseline",
        "The same figure with real data in place of synthetic: the best that can be expected.",
    ),
    (
        "C2ST (detection)",
        "A classifier tries to tell synthetic from real patients. An AUC near 0.5 means it can't.",
    ),
    (
        "Canary",
        "A made-up patient like no other, put into the training of a refit by the toss of a coin. "
        "If it can be told from the synthetic data which canaries were in, the method learns odd "
        "patients by heart. The refits are made for this alone, on other patients, and thrown "
        "away.",
    ),
    (
        "Differential privacy",
        "A promise about the training: whatever is learnt would have been learnt almost as likely "
        "had any one patient not been there. It holds against every attack, known or not.",
    ),
    (
        "Epsilon (ε) and delta (δ)",
        "The strength of that promise. ε bounds how much one patient can change what is seen: "
        "below 1 is strong, 3 moderate, 10 says little by itself. δ is a small remaining chance "
        "that the bound does not hold; it must be far below one over the number of patients.",
    ),
    (
        "Exact copies",
        "Synthetic rows equal to a training row in every column. Coarse tables have some by "
        "chance; the rate for holdout patients shows how many.",
    ),
    (
        "False alarms (FPR) and hits (TPR)",
        "Of people who were not in the training data, the share an attacker wrongly accuses; of "
        "those who were, the share recognised. Attacks that matter have few false alarms.",
    ),
    (
        "Holdout",
        "Patients set aside at random before training. The generator never sees them; they show "
        "what would be seen without any leak.",
    ),
    (
        "Interval (95 %)",
        "The range in which the figure would probably lie if all was repeated. An interval that "
        "crosses a limit means: not known well enough.",
    ),
    (
        "k, l and t",
        "k: the smallest group of patients who share all quasi-identifiers (age, sex, region, "
        "...). l: how many different sensitive values such a group has at least. t: how far the "
        "sensitive values of a group are from those of everyone. They describe the source table, "
        "not the synthetic one.",
    ),
    (
        "p (permutation test)",
        "How often shuffled labels give an attack at least as good. A small p means that training "
        "patients really stand out.",
    ),
    (
        "Safe Harbor",
        "The list of 18 classes of identifiers in the US rule 45 CFR 164.514(b)(2). The lint "
        "compares names and types of columns with it; it is no legal finding.",
    ),
    (
        "TSTR and TRTR",
        "Train on synthetic, test on real; train on real, test on real. The difference is what a "
        "researcher loses by working with the synthetic data.",
    ),
    (
        "Unit of privacy",
        "Whose presence is protected. If the unit is a patient, all rows of the patient count "
        "together.",
    ),
)
"""(word, explanation), in alphabetical order."""
