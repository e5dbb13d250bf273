package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.memory.MemoryImage;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * The chains that snapshots form by naming each other as parent, as of one moment. An edge is the
 * tag of the parent and the content hash of its memory: a snapshot that has only the tag of the one
 * that was branched is not its parent.
 *
 * @param entries all snapshots by tag
 */
record Chains(Map<String, Entry> entries) {
  /** Links above a base. A fork reads one delta for each, once for each hot copy. */
  static final int MAX_LINKS = 32;

  /** Images under a link that the base of its chain may bring along; see Brancher. */
  private static final int MAX_IMAGES = MAX_LINKS + 8;

  private static final int MAX_TAGS_SHOWN = 20;

  /** Those that name {@code tag} as their parent. */
  List<String> children(String tag) {
    return entries.entrySet().stream()
        .filter(entry -> entry.getValue().parentTag().equals(Optional.of(tag)))
        .map(Map.Entry::getKey)
        .toList();
  }

  /** {@code tag} and all that stand on it, each before what it stands on. */
  List<String> leavesFirst(String tag) {
    Map<String, List<String>> children = new HashMap<>();
    entries.forEach((child, entry) ->
        entry
            .parentTag()
            .ifPresent(
                parent -> children.computeIfAbsent(parent, _ -> new ArrayList<>()).add(child)));
    // A damaged manifest may close a circle: each tag once.
    Set<String> found = new LinkedHashSet<>();
    Deque<String> next = new ArrayDeque<>(List.of(tag));
    while (!next.isEmpty()) {
      String one = next.removeFirst();
      if (found.add(one)) {
        next.addAll(children.getOrDefault(one, List.of()));
      }
    }
    // Level by level downwards: backwards every child comes before its parent.
    return List.copyOf(found).reversed();
  }

  /**
   * What a snapshot stands on, the base first.
   *
   * @throws ForkdException DATA_LOSS when one of them is missing, is another snapshot by now, or
   *     names one above it as its parent
   */
  List<String> ancestors(String tag) {
    Deque<String> above = new ArrayDeque<>();
    Set<String> visited = new LinkedHashSet<>(List.of(tag));
    String child = tag;
    Optional<String> parent = parentOf(child);
    while (parent.isPresent()) {
      if (!visited.add(parent.get())) {
        throw broken(tag, "the chain goes in a circle: " + parent.get() + " stands on itself");
      }
      checkEdge(tag, child, parent.get());
      above.addFirst(parent.get());
      child = parent.get();
      parent = parentOf(child);
    }
    return List.copyOf(above);
  }

  private Optional<String> parentOf(String tag) {
    return Optional.ofNullable(entries.get(tag)).flatMap(Entry::parentTag);
  }

  private void checkEdge(String tag, String child, String parent) {
    Entry above = entries.get(child);
    Entry below = entries.get(parent);
    if (below == null) {
      throw broken(tag, "'" + parent + "', the parent of '" + child + "', does not exist");
    }
    if (!(below instanceof Entry.Ready(SnapshotManifest manifest))) {
      throw broken(tag, "'" + parent + "', the parent of '" + child + "', is damaged");
    }
    String found = manifest.memory().getFirst().contentHash();
    Optional<String> expected =
        above instanceof Entry.Ready(SnapshotManifest link) ? parentHash(link) : Optional.empty();
    if (expected.isPresent() && !expected.get().equals(found)) {
      throw broken(
          tag,
          "'"
              + parent
              + "' is not the snapshot that '"
              + child
              + "' was branched from: its content hash is "
              + found
              + ", expected "
              + expected.get());
    }
  }

  /** Content hash of the parent's memory when the link was made; empty for what is no link. */
  static Optional<String> parentHash(SnapshotManifest manifest) {
    return manifest
        .lineage()
        .flatMap(SnapshotManifest.Lineage::parentTag)
        .flatMap(_ -> manifest.memory().stream().skip(1).findFirst())
        .map(MemoryImage::contentHash);
  }

  private static ForkdException broken(String tag, String why) {
    return new ForkdException(
        ErrorCode.DATA_LOSS,
        "the chain of snapshot '"
            + tag
            + "' is broken: "
            + why
            + ". What it needs itself it has: it can be forked, and forkd snapshot-compact --from "
            + tag
            + " --to NEW makes one that stands alone");
  }

  /**
   * Checks that a sandbox's branch may name {@code parent} as its parent.
   *
   * @param memory what the sandbox was forked from: an image, then its parent, and so on
   * @throws ForkdException FAILED_PRECONDITION when the parent is gone, is another snapshot by now,
   *     or carries as many links as a chain may have
   */
  void checkLink(String parent, List<MemoryImage> memory) {
    if (!(entries.get(parent) instanceof Entry.Ready(SnapshotManifest manifest))) {
      throw refused(parent, "was deleted or damaged since the sandbox was forked from it");
    }
    if (!manifest.memory().getFirst().contentHash().equals(memory.getFirst().contentHash())) {
      throw refused(parent, "was made anew since the sandbox was forked from it");
    }
    if (links(parent, memory) >= MAX_LINKS || memory.size() >= MAX_IMAGES) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "the chain of snapshot '"
              + parent
              + "' has "
              + links(parent, memory)
              + " links; at most "
              + MAX_LINKS
              + " are read for a fork. Make it flat with compact (forkd snapshot-compact --from "
              + parent
              + " --to NEW, or POST /v1/snapshots/"
              + parent
              + "/compact) and go on from there, or branch without parent_tag");
    }
  }

  private int links(String parent, List<MemoryImage> memory) {
    try {
      return ancestors(parent).size();
    } catch (ForkdException e) {
      return memory.size() - 1; // an ancestor was removed by force; its memory is still read
    }
  }

  private static ForkdException refused(String parent, String why) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION,
        "parent_tag: snapshot '" + parent + "' " + why + "; branch without parent_tag");
  }

  /** Some tags for a message. */
  static String shown(List<String> tags) {
    String some = String.join(", ", tags.subList(0, Math.min(MAX_TAGS_SHOWN, tags.size())));
    return tags.size() > MAX_TAGS_SHOWN
        ? some + " and " + (tags.size() - MAX_TAGS_SHOWN) + " more"
        : some;
  }
}
