package dev.forkd.http.envd;

import java.util.Locale;
import java.util.Optional;

/** What a client takes, by its {@code Accept-Encoding}. */
record Encodings(boolean gzip, boolean identity) {
  static Encodings of(Optional<String> accept) {
    boolean gzip = false;
    boolean identity = true;
    boolean named = false;
    for (String element : accept.orElse("").split(",")) {
      String[] parts = element.strip().split(";");
      boolean wanted = weight(parts) > 0;
      switch (parts[0].strip().toLowerCase(Locale.ROOT)) {
        case "gzip", "x-gzip" -> gzip = wanted;
        case "identity" -> {
          identity = wanted;
          named = true;
        }
        case "*" -> identity = named ? identity : wanted;
        default -> {}
      }
    }
    return new Encodings(gzip, identity);
  }

  private static double weight(String[] parts) {
    for (int i = 1; i < parts.length; i++) {
      String parameter = parts[i].strip();
      if (parameter.regionMatches(true, 0, "q=", 0, 2)) {
        try {
          return Double.parseDouble(parameter.substring(2));
        } catch (NumberFormatException e) {
          return 0;
        }
      }
    }
    return 1;
  }
}
