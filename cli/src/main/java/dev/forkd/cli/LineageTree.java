package dev.forkd.cli;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Who came from whom, drawn with lines. */
final class LineageTree {
  /**
   * One snapshot or sandbox.
   *
   * @param key unique in the tree
   * @param parent key of what it came from; one that is not in the tree any more counts as none
   * @param label what is shown
   */
  record Node(String key, Optional<String> parent, String label) {}

  private LineageTree() {}

  /** The lines of the tree, in the order of {@code nodes}; each node appears exactly once. */
  static List<String> render(List<Node> nodes) {
    Set<String> known = new HashSet<>();
    nodes.forEach(node -> known.add(node.key()));
    Map<String, List<Node>> children = new HashMap<>();
    List<Node> roots = new ArrayList<>();
    for (Node node : nodes) {
      Optional<String> parent = node.parent().filter(known::contains);
      parent.ifPresentOrElse(
          key -> children.computeIfAbsent(key, _ -> new ArrayList<>()).add(node),
          () -> roots.add(node));
    }
    List<String> lines = new ArrayList<>();
    Set<String> drawn = new HashSet<>();
    for (Node root : roots) {
      draw(root, "", "", children, drawn, lines);
    }
    // What is left hangs in a circle, which only damaged data can hold: show it rather than hide
    // it.
    for (Node node : nodes) {
      if (!drawn.contains(node.key())) {
        draw(node, "", "", children, drawn, lines);
      }
    }
    return lines;
  }

  private static void draw(
      Node node,
      String first,
      String rest,
      Map<String, List<Node>> children,
      Set<String> drawn,
      List<String> lines) {
    if (!drawn.add(node.key())) {
      return;
    }
    lines.add(first + node.label());
    List<Node> below = children.getOrDefault(node.key(), List.of());
    for (int i = 0; i < below.size(); i++) {
      boolean last = i == below.size() - 1;
      draw(
          below.get(i),
          rest + (last ? "└─ " : "├─ "),
          rest + (last ? "   " : "│  "),
          children,
          drawn,
          lines);
    }
  }
}
