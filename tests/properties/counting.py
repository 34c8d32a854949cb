"""Voting rules counted by hand, in plain Python: slow, and nothing like the library."""

from fractions import Fraction


def ballots_of(votes, weights=None):
    """(weight, ballot) of every voter, per image, in exact fractions."""
    rows = votes.double().tolist()
    ones = [[1.0] * len(row) for row in rows]
    for ballots, factors in zip(rows, weights.double().tolist() if weights is not None else ones, strict=True):
        yield [(Fraction(w), [Fraction(x) for x in ballot]) for w, ballot in zip(factors, ballots, strict=True)]


def borda(votes, weights=None):
    """A token gets a point for every token it beats, and half of one for every other token it draws with."""
    result = []
    for electorate in ballots_of(votes, weights):
        points = [Fraction(0)] * votes.shape[2]
        for weight, ballot in electorate:
            for token, mine in enumerate(ballot):
                beaten = sum(mine > other for other in ballot)
                drawn = sum(mine == other for other in ballot) - 1
                points[token] += weight * (beaten + Fraction(drawn, 2))
        result.append([float(p) for p in points])
    return result


def plurality(votes, weights=None):
    """A voter's point goes to its favourite, in equal parts where there are several."""
    result = []
    for electorate in ballots_of(votes, weights):
        points = [Fraction(0)] * votes.shape[2]
        for weight, ballot in electorate:
            best = [token for token, vote in enumerate(ballot) if vote == max(ballot)]
            for token in best:
                points[token] += weight / len(best)
        result.append([float(p) for p in points])
    return result


def copeland(votes, weights=None):
    """A token gets a point for every token that it beats in a duel, and half of one for a draw."""
    result = []
    for electorate in ballots_of(votes, weights):
        count = votes.shape[2]

        def margin(a, b, electorate=electorate):
            return sum(w * ((ballot[a] > ballot[b]) - (ballot[a] < ballot[b])) for w, ballot in electorate)

        duels = [[margin(a, b) for b in range(count) if b != a] for a in range(count)]
        result.append([sum(m > 0 for m in row) + sum(m == 0 for m in row) / 2 for row in duels])
    return result


def total(votes, weights=None):
    """The sum of the weighted votes."""
    return [
        [float(sum(w * ballot[t] for w, ballot in electorate)) for t in range(votes.shape[2])]
        for electorate in ballots_of(votes, weights)
    ]


def mean(votes, weights=None):
    """The mean of the votes, every voter by its weight."""
    return [
        [
            float(sum(w * ballot[t] for w, ballot in electorate) / sum(w for w, _ in electorate))
            for t in range(votes.shape[2])
        ]
        for electorate in ballots_of(votes, weights)
    ]


def maximum(votes, weights=None):
    """The highest weighted vote."""
    return [
        [float(max(w * ballot[t] for w, ballot in electorate)) for t in range(votes.shape[2])]
        for electorate in ballots_of(votes, weights)
    ]
