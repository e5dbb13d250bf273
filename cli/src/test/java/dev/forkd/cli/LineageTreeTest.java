package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.cli.LineageTree.Node;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Shows that the drawn lineage has every node once, under what it came from. */
class LineageTreeTest {
  @Test
  void drawsChildrenUnderTheirParents() {
    assertThat(
            LineageTree.render(
                List.of(
                    node("python", ""),
                    node("sb1", "python"),
                    node("branch", "sb1"),
                    node("sb3", "branch"),
                    node("sb4", "branch"),
                    node("sb2", "python"))))
        .containsExactly(
            "python", "├─ sb1", "│  └─ branch", "│     ├─ sb3", "│     └─ sb4", "└─ sb2");
  }

  @Test
  void aNodeWhoseParentIsGoneIsARoot() {
    assertThat(LineageTree.render(List.of(node("sb1", "removed"), node("sb2", ""))))
        .containsExactly("sb1", "sb2");
  }

  @Test
  void damagedLineageIsStillDrawnCompletely() {
    assertThat(LineageTree.render(List.of(node("a", "b"), node("b", "a"), node("c", "c"))))
        .containsExactly("a", "└─ b", "c");
  }

  @Test
  void anyForestIsDrawnCompletely() {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    for (int round = 0; round < 200; round++) {
      List<Node> nodes = new ArrayList<>();
      int size = random.nextInt(30);
      for (int i = 0; i < size; i++) {
        nodes.add(
            node("n" + i + ".", random.nextBoolean() ? "" : "n" + random.nextInt(size) + "."));
      }
      List<String> lines = LineageTree.render(nodes);
      assertThat(lines).as("seed %d", seed).hasSize(size);
      for (Node node : nodes) {
        assertThat(lines.stream().filter(line -> line.endsWith(node.label())))
            .as("seed %d, %s", seed, node)
            .isNotEmpty();
      }
    }
  }

  private static Node node(String key, String parent) {
    return new Node(key, parent.isEmpty() ? Optional.empty() : Optional.of(parent), key);
  }
}
