package dev.forkd.cli;

/**
 * What doctor found about one thing.
 *
 * @param name short, for people and programs
 * @param detail what was found
 * @param meaning what forkd needs it for
 * @param mend what to do; empty when it passed
 */
record Check(String name, Status status, String detail, String meaning, String mend) {
  /** How bad it is. */
  enum Status {
    PASS("✓"),
    WARN("⚠"),
    FAIL("✗"),
    SKIP("–");

    private final String glyph;

    Status(String glyph) {
      this.glyph = glyph;
    }

    String glyph() {
      return glyph;
    }
  }

  static Check pass(String name, String detail, String meaning) {
    return new Check(name, Status.PASS, detail, meaning, "");
  }

  static Check warn(String name, String detail, String meaning, String mend) {
    return new Check(name, Status.WARN, detail, meaning, mend);
  }

  static Check fail(String name, String detail, String meaning, String mend) {
    return new Check(name, Status.FAIL, detail, meaning, mend);
  }

  static Check skip(String name, String detail, String meaning) {
    return new Check(name, Status.SKIP, detail, meaning, "");
  }
}
