package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;

/**
 * The layers of an image laid over each other, in memory: names and attributes, not contents. The
 * image is hostile. Since nothing is unpacked while its symbolic links are followed, a link can
 * lead nowhere but inside the image, whatever it says.
 *
 * @see <a
 *     href="https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets">How
 *     layers are applied</a>
 */
final class MergedTree {
  static final int MAX_ENTRIES = 1_000_000;
  private static final int MAX_DEPTH = 200;
  private static final int MAX_LINKS_FOLLOWED = 40;
  private static final String WHITEOUT = ".wh.";
  private static final String OPAQUE = ".wh..wh..opq";

  final TreeNode root = new TreeNode(TreeNode.Kind.FOLDER, 0755);
  private int entries;

  /** What a layer says about one path. */
  private record Change(
      List<String> path, TarArchiveEntry entry, int ordinal, Map<String, byte[]> attributes) {
    String name() {
      return path.getLast();
    }

    List<String> parent() {
      return path.subList(0, path.size() - 1);
    }
  }

  /**
   * Lays a layer over what is there. Removals come first: they concern the layers below only.
   *
   * @param attributes what {@code tar} is read through
   */
  void apply(int layer, TarArchiveInputStream tar, XattrReader attributes) throws IOException {
    List<Change> changes = read(tar, attributes);
    for (Change change : changes) {
      if (!change.path().isEmpty() && change.name().startsWith(WHITEOUT)) {
        remove(change);
      }
    }
    for (Change change : changes) {
      if (change.path().isEmpty()) {
        describe(root, change);
      } else if (!change.name().startsWith(WHITEOUT)) {
        add(layer, change);
      }
    }
  }

  /** Adds what the image's processes run with, and the folder they run in. */
  void addConfig(ImageConfig config, byte[] file) {
    put(new GuestTree.TextFile(ImageConfig.FILE, new String(file, StandardCharsets.UTF_8)));
    config.folder().ifPresent(path -> folder(path(path)));
  }

  /** Adds what the agent needs, whatever the image has in its place. */
  void addGuestTree() {
    for (GuestTree.Folder folder : GuestTree.FOLDERS) {
      if (find(List.of(folder.path())).filter(TreeNode::isFolder).isEmpty()) {
        root.children.put(folder.path(), new TreeNode(TreeNode.Kind.FOLDER, folder.mode()));
      }
    }
    GuestTree.FILES.forEach(this::put);
  }

  private void put(GuestTree.TextFile file) {
    List<String> path = List.of(file.path().split("/"));
    TreeNode node = new TreeNode(TreeNode.Kind.FILE, 0644);
    node.content = new TreeNode.InMemory(file.content());
    folder(path.subList(0, path.size() - 1)).children.put(path.getLast(), node);
  }

  private List<Change> read(TarArchiveInputStream tar, XattrReader attributes) throws IOException {
    List<Change> changes = new ArrayList<>();
    int ordinal = 0;
    for (TarArchiveEntry entry = tar.getNextEntry(); entry != null; entry = tar.getNextEntry()) {
      if (++entries > MAX_ENTRIES) {
        throw invalid("it has more than " + MAX_ENTRIES + " files");
      }
      // They stand before the entry: what was read so far has them.
      Map<String, byte[]> found = attributes.found().getOrDefault(ordinal, Map.of());
      changes.add(new Change(path(entry.getName()), entry, ordinal++, found));
    }
    return changes;
  }

  private void remove(Change change) {
    Optional<TreeNode> parent = find(change.parent()).filter(TreeNode::isFolder);
    if (parent.isEmpty()) {
      return;
    }
    if (change.name().equals(OPAQUE)) {
      parent.get().children.clear();
    } else {
      parent.get().children.remove(change.name().substring(WHITEOUT.length()));
    }
  }

  private void add(int layer, Change change) {
    TarArchiveEntry entry = change.entry();
    TreeNode parent = folder(change.parent());
    TreeNode existing = parent.children.get(change.name());
    TreeNode node;
    if (entry.isLink()) {
      List<String> target = path(entry.getLinkName());
      node =
          target.isEmpty()
              ? root
              : find(target.subList(0, target.size() - 1))
                  .map(folder -> folder.children.get(target.getLast()))
                  .orElse(root);
      if (node.isFolder()) {
        throw invalid(
            "'"
                + entry.getName()
                + "' is a hard link to '"
                + entry.getLinkName()
                + "', which is not a file of it");
      }
      parent.children.put(change.name(), node);
      return;
    } else if (entry.isDirectory()) {
      node =
          existing != null && existing.isFolder()
              ? existing
              : new TreeNode(TreeNode.Kind.FOLDER, 0755);
    } else if (entry.isSymbolicLink()) {
      node = new TreeNode(TreeNode.Kind.SYMLINK, 0777);
      node.target = entry.getLinkName();
    } else if (entry.isFIFO()) {
      node = new TreeNode(TreeNode.Kind.FIFO, 0644);
    } else if (entry.isCharacterDevice() || entry.isBlockDevice()) {
      parent.children.remove(change.name());
      return;
    } else {
      node = new TreeNode(TreeNode.Kind.FILE, 0644);
      node.content = new TreeNode.InLayer(layer, change.ordinal(), entry.getRealSize());
    }
    describe(node, change);
    parent.children.put(change.name(), node);
  }

  private static void describe(TreeNode node, Change change) {
    TarArchiveEntry entry = change.entry();
    node.attributes = change.attributes();
    node.mode = entry.getMode() & 07777;
    node.uid = entry.getLongUserId();
    node.gid = entry.getLongGroupId();
    node.modifiedSeconds = Math.max(0, entry.getLastModifiedTime().toMillis() / 1000);
  }

  /** The folder at {@code path}; what is missing on the way is made. */
  private TreeNode folder(List<String> path) {
    return walk(path, true)
        .filter(TreeNode::isFolder)
        .orElseThrow(
            () -> invalid("'" + String.join("/", path) + "' is used as a folder but is none"));
  }

  /** What is at {@code path}, links on the way and at its end followed inside the image. */
  private Optional<TreeNode> find(List<String> path) {
    return walk(path, false);
  }

  private Optional<TreeNode> walk(List<String> path, boolean make) {
    Deque<String> ahead = new ArrayDeque<>(path);
    Deque<TreeNode> behind = new ArrayDeque<>();
    TreeNode here = root;
    int followed = 0;
    while (!ahead.isEmpty()) {
      String name = ahead.pop();
      if (name.isEmpty() || name.equals(".")) {
        continue;
      }
      if (name.equals("..")) {
        here = behind.isEmpty() ? root : behind.pop();
        continue;
      }
      if (!here.isFolder()) {
        return Optional.empty();
      }
      TreeNode next = here.children.get(name);
      if (next == null && make) {
        next = new TreeNode(TreeNode.Kind.FOLDER, 0755);
        here.children.put(name, next);
      }
      if (next == null) {
        return Optional.empty();
      }
      if (next.kind == TreeNode.Kind.SYMLINK) {
        if (++followed > MAX_LINKS_FOLLOWED) {
          throw invalid("its symbolic links go in a circle at '" + String.join("/", path) + "'");
        }
        if (next.target.startsWith("/")) {
          here = root;
          behind.clear();
        }
        List<String> target = List.of(next.target.split("/"));
        target.reversed().forEach(ahead::push);
      } else {
        if (behind.size() >= MAX_DEPTH) {
          throw invalid("it nests folders more than " + MAX_DEPTH + " deep");
        }
        behind.push(here);
        here = next;
      }
    }
    return Optional.of(here);
  }

  /** The parts of an entry's name. A name that climbs has no honest use. */
  private static List<String> path(String name) {
    List<String> parts = new ArrayList<>();
    for (String part : name.split("/")) {
      if (part.equals("..")) {
        throw invalid("its entry '" + name + "' points outside it");
      }
      if (!part.isEmpty() && !part.equals(".")) {
        parts.add(part);
      }
    }
    return parts;
  }

  private static ForkdException invalid(String why) {
    return new ForkdException(
        ErrorCode.INVALID_ARGUMENT, "the OCI image cannot be used: " + why + "; export it again");
  }
}
