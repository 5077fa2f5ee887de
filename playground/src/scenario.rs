//! What kinds of requests there are, and in which order they come.

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

/// A request as the shop gets it, and what is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) route: Route,
    pub(crate) trouble: Trouble,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `GET /orders/{id}`
    Order,
    /// `POST /orders`
    PlaceOrder,
    /// `GET /quotes/{symbol}`, the only one without a database.
    Quote,
    /// `GET /reports/daily`, the slow one.
    Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// A call fails once or twice, and then does not.
    Retried,
    /// The request fails.
    Failing,
}

use Route::{Order, PlaceOrder, Quote, Report};
use Trouble::{Failing, None, Retried};

/// Among so many requests there is one of each kind.
const DECK: [(Route, Trouble); 12] = [
    (Order, None),
    (Order, None),
    (Order, None),
    (Order, Failing),
    (PlaceOrder, None),
    (PlaceOrder, None),
    (PlaceOrder, Retried),
    (PlaceOrder, Failing),
    (Quote, None),
    (Quote, None),
    (Quote, Retried),
    (Report, None),
];

impl Scenario {
    /// Of the request of this number, by the seed alone.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let size = DECK.len() as u64;
        let mut deck = DECK;
        deck.shuffle(&mut random(seed, number / size, "deck"));
        let (route, trouble) = deck[(number % size) as usize];
        Self { route, trouble }
    }
}

impl Route {
    pub(crate) fn method(self) -> &'static str {
        match self {
            PlaceOrder => "POST",
            Order | Quote | Report => "GET",
        }
    }

    /// `http.route`.
    pub(crate) fn template(self) -> &'static str {
        match self {
            Order => "/orders/{id}",
            PlaceOrder => "/orders",
            Quote => "/quotes/{symbol}",
            Report => "/reports/daily",
        }
    }
}

/// What is drawn for one purpose does not depend on what is drawn for another.
pub(crate) fn random(seed: u64, number: u64, purpose: &str) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    let purpose = purpose.as_bytes();
    key[16..16 + purpose.len()].copy_from_slice(purpose);
    StdRng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_requests_are_one_of_each_kind_in_an_order_of_the_seed() {
        let twelve =
            |seed, first| (first..first + 12).map(move |number| Scenario::of(seed, number));
        for (route, trouble) in DECK {
            for first in [0, 12, 1200] {
                let scenario = Scenario { route, trouble };
                assert!(twelve(7, first).any(|found| found == scenario));
            }
        }
        assert!(twelve(7, 0).eq(twelve(7, 0)));
        assert!(twelve(7, 0).ne(twelve(8, 0)));
        assert!(twelve(7, 0).ne(twelve(7, 12)));
    }
}
