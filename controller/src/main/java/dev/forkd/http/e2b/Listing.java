package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.HostedView;
import dev.forkd.http.Exchange;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.Arrays;
import java.util.Base64;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/** Filters, order and pages of lists. */
final class Listing {
  private static final int LIMIT_MAX = 100;
  private static final Set<String> STATES = Set.of("running", "paused");

  private Listing() {}

  /**
   * A part of a list.
   *
   * @param next what the client sends to get the part after this one
   */
  record Page<T>(List<T> items, Optional<String> next) {}

  /** The sandboxes that a request asks for, the youngest start first unless it wants otherwise. */
  static Page<HostedView> sandboxes(Exchange exchange, List<HostedView> all) {
    Predicate<HostedView> wanted =
        states(exchange)
            .and(metadata(exchange.query("metadata")))
            .and(template(exchange.query("template")))
            .and(startedAfter(exchange.query("startedAfter")));
    Comparator<HostedView> order =
        Comparator.comparing(HostedView::started).thenComparing(HostedView::id);
    boolean ascending = ascending(exchange.query("order"));
    List<HostedView> sorted =
        all.stream().filter(wanted).sorted(ascending ? order : order.reversed()).toList();
    return page(exchange, sorted, view -> view.started().toEpochMilli() + ":" + view.id());
  }

  private static boolean ascending(Optional<String> order) {
    return switch (order.orElse("desc")) {
      case "asc" -> true;
      case "desc" -> false;
      default -> throw invalid("order must be asc or desc, not '" + order.get() + "'");
    };
  }

  private static Predicate<HostedView> states(Exchange exchange) {
    Optional<String> states = exchange.query("state");
    if (states.isEmpty() || states.get().isEmpty()) {
      return _ -> true;
    }
    Set<String> names = Arrays.stream(states.get().split(",")).collect(Collectors.toSet());
    if (!STATES.containsAll(names)) {
      throw invalid("state must be of running and paused, not '" + states.get() + "'");
    }
    return view -> names.contains(view.paused() ? "paused" : "running");
  }

  /** Key and value are encoded once more than the query is, inside a query of their own. */
  static Predicate<HostedView> metadata(Optional<String> query) {
    Map<String, String> wanted = new HashMap<>();
    for (String pair : query.orElse("").split("&")) {
      int equals = pair.indexOf('=');
      if (!pair.isEmpty()) {
        wanted.put(
            decoded(equals < 0 ? pair : pair.substring(0, equals)),
            equals < 0 ? "" : decoded(pair.substring(equals + 1)));
      }
    }
    return view -> view.spec().metadata().entrySet().containsAll(wanted.entrySet());
  }

  private static String decoded(String text) {
    try {
      return URLDecoder.decode(
          URLDecoder.decode(text, StandardCharsets.UTF_8).replace("+", "%2B"),
          StandardCharsets.UTF_8);
    } catch (IllegalArgumentException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "the metadata to look for is not percent-encoded", e);
    }
  }

  private static Predicate<HostedView> template(Optional<String> name) {
    return view ->
        name.isEmpty()
            || Attributes.template(view.spec()).equals(name)
            || view.spec().snapshot().value().equals(name.get());
  }

  private static Predicate<HostedView> startedAfter(Optional<String> time) {
    if (time.isEmpty()) {
      return _ -> true;
    }
    try {
      Instant after = Instant.parse(time.get());
      return view -> !view.started().isBefore(after);
    } catch (DateTimeParseException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "startedAfter must be a time as in RFC 3339", e);
    }
  }

  /**
   * The part of a sorted list that a request asks for. A page goes on behind the last item of the
   * one before, even when that is gone.
   *
   * @param key tells one item from all others
   */
  static <T> Page<T> page(Exchange exchange, List<T> sorted, Function<T, String> key) {
    int limit = limit(exchange.query("limit"));
    List<String> keys = sorted.stream().map(key).toList();
    int from = exchange.query("nextToken").map(token -> after(token, keys)).orElse(0);
    int to = Math.min(sorted.size(), from + limit);
    Optional<String> next =
        to < sorted.size()
            ? Optional.of(
                Base64.getUrlEncoder()
                    .withoutPadding()
                    .encodeToString((to + "|" + keys.get(to - 1)).getBytes(StandardCharsets.UTF_8)))
            : Optional.empty();
    return new Page<>(sorted.subList(from, to), next);
  }

  private static int after(String token, List<String> keys) {
    try {
      String text = new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8);
      int bar = text.indexOf('|');
      int found = keys.indexOf(text.substring(bar + 1));
      // Where it was, if it is gone.
      return found >= 0
          ? found + 1
          : Math.clamp(Integer.parseInt(text.substring(0, bar)) - 1L, 0, keys.size());
    } catch (IllegalArgumentException | StringIndexOutOfBoundsException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "nextToken is not one that a list has given", e);
    }
  }

  private static int limit(Optional<String> text) {
    if (text.isEmpty()) {
      return LIMIT_MAX;
    }
    try {
      int limit = Integer.parseInt(text.get());
      if (limit >= 1 && limit <= LIMIT_MAX) {
        return limit;
      }
    } catch (NumberFormatException e) {
      throw new ForkdException(ErrorCode.INVALID_ARGUMENT, "limit must be a number", e);
    }
    throw invalid("limit must be 1 to " + LIMIT_MAX + ", not " + text.get());
  }

  static ForkdException invalid(String message) {
    return new ForkdException(ErrorCode.INVALID_ARGUMENT, message);
  }
}
