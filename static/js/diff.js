// Two sequences laid side by side.

/** The indices of `left` and of `right` that have no partner in a longest common subsequence. */
export function differing(left, right) {
  const longest = table(left, right);
  const alone = [[], []];
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) {
      i++;
      j++;
    } else if (j === right.length || (i < left.length && longest[i + 1][j] >= longest[i][j + 1])) {
      alone[0].push(i++);
    } else {
      alone[1].push(j++);
    }
  }
  return alone;
}

/** Length of the longest common subsequence of `left` from i on and `right` from j on. */
function table(left, right) {
  const longest = Array.from({ length: left.length + 1 }, () => new Uint32Array(right.length + 1));
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      longest[i][j] = left[i] === right[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  return longest;
}
