package dev.forkd.template;

import dev.forkd.template.TreeNode.Content;
import dev.forkd.template.TreeNode.InLayer;
import dev.forkd.template.TreeNode.InMemory;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;
import org.apache.commons.compress.archivers.tar.TarConstants;

/**
 * Writes a merged tree as one archive: folders, then contents in the order the layers give them,
 * then hard links, and symbolic links last. While it is unpacked no path leads through a link.
 */
final class MergedTreeWriter {
  private final TarArchiveOutputStream out;
  private final Map<TreeNode, String> paths = new HashMap<>();
  private final Map<InLayer, TreeNode> contents = new HashMap<>();
  private final Set<Integer> layers = new TreeSet<>();
  private final List<TreeNode> own = new ArrayList<>();
  private final Map<String, TreeNode> hardLinks = new HashMap<>();
  private final Map<String, TreeNode> special = new HashMap<>();

  MergedTreeWriter(TarArchiveOutputStream out) {
    this.out = out;
    out.setLongFileMode(TarArchiveOutputStream.LONGFILE_POSIX);
    out.setBigNumberMode(TarArchiveOutputStream.BIGNUMBER_POSIX);
    out.setAddPaxHeadersForNonAsciiNames(true);
  }

  /** Opens a layer from its beginning. */
  @FunctionalInterface
  interface Layers {
    TarArchiveInputStream open(int layer) throws IOException;
  }

  void write(MergedTree tree, Layers source) throws IOException {
    folders(tree.root, "");
    for (TreeNode node : own) {
      if (node.content instanceof InMemory(byte[] bytes)) {
        put(node, path(node), TarConstants.LF_NORMAL, bytes.length);
        out.write(bytes);
        out.closeArchiveEntry();
      }
    }
    for (int layer : layers) {
      try (TarArchiveInputStream in = source.open(layer)) {
        copy(layer, in);
      }
    }
    for (Map.Entry<String, TreeNode> link : hardLinks.entrySet()) {
      if (link.getValue().kind != TreeNode.Kind.SYMLINK) {
        TarArchiveEntry entry = new TarArchiveEntry(link.getKey(), TarConstants.LF_LINK);
        entry.setLinkName(path(link.getValue()));
        describe(entry, link.getValue());
        out.putArchiveEntry(entry);
        out.closeArchiveEntry();
      } else {
        // A second name of a symbolic link is as good as a copy of it.
        special.put(link.getKey(), link.getValue());
      }
    }
    for (Map.Entry<String, TreeNode> node : special.entrySet()) {
      boolean symlink = node.getValue().kind == TreeNode.Kind.SYMLINK;
      put(
          node.getValue(),
          node.getKey(),
          symlink ? TarConstants.LF_SYMLINK : TarConstants.LF_FIFO,
          0);
      out.closeArchiveEntry();
    }
  }

  /** Bytes of all file contents of a tree. */
  static long sizeBytes(MergedTree tree) {
    Set<TreeNode> seen = new HashSet<>();
    List<TreeNode> ahead = new ArrayList<>(List.of(tree.root));
    long total = 0;
    while (!ahead.isEmpty()) {
      TreeNode node = ahead.removeLast();
      if (seen.add(node)) {
        total += node.content.sizeBytes();
        ahead.addAll(node.children.values());
      }
    }
    return total;
  }

  private void folders(TreeNode folder, String path) throws IOException {
    put(folder, path.isEmpty() ? "./" : path, TarConstants.LF_DIR, 0);
    out.closeArchiveEntry();
    for (Map.Entry<String, TreeNode> child : folder.children.entrySet()) {
      TreeNode node = child.getValue();
      String childPath = path + child.getKey();
      if (node.isFolder()) {
        folders(node, childPath + "/");
      } else if (paths.putIfAbsent(node, childPath) != null) {
        hardLinks.put(childPath, node);
      } else {
        remember(node, childPath);
      }
    }
  }

  private void remember(TreeNode node, String path) {
    if (node.kind != TreeNode.Kind.FILE) {
      special.put(path, node);
      return;
    }
    Content content = node.content;
    switch (content) {
      case InLayer inLayer -> {
        contents.put(inLayer, node);
        layers.add(inLayer.layer());
      }
      case InMemory _ -> own.add(node);
    }
  }

  private void copy(int layer, TarArchiveInputStream in) throws IOException {
    int ordinal = 0;
    for (TarArchiveEntry entry = in.getNextEntry(); entry != null; entry = in.getNextEntry()) {
      TreeNode node = contents.get(new InLayer(layer, ordinal++, entry.getRealSize()));
      if (node != null) {
        put(node, path(node), TarConstants.LF_NORMAL, node.content.sizeBytes());
        in.transferTo(out);
        out.closeArchiveEntry();
      }
    }
  }

  private String path(TreeNode node) {
    String path = paths.get(node);
    if (path == null) {
      throw new IllegalStateException("a file of the tree was not seen when its folders were");
    }
    return path;
  }

  private void put(TreeNode node, String path, byte type, long sizeBytes) throws IOException {
    TarArchiveEntry entry = new TarArchiveEntry(path, type);
    entry.setSize(sizeBytes);
    if (type == TarConstants.LF_SYMLINK) {
      entry.setLinkName(node.target);
    }
    describe(entry, node);
    out.putArchiveEntry(entry);
  }

  private static void describe(TarArchiveEntry entry, TreeNode node) {
    entry.setMode(node.mode);
    entry.setUserId(node.uid);
    entry.setGroupId(node.gid);
    entry.setModTime(node.modifiedSeconds * 1000);
  }
}
