package dev.forkd.http;

/** Budgets for tests in other packages. */
public final class HeapBudgets {
  private HeapBudgets() {}

  /** A share in a budget of its own. */
  public static HeapBudget.Share share(long maxBytes) {
    return new HeapBudget(maxBytes, maxBytes).share();
  }
}
