//! Invented names, common enough to belong to nobody.

use super::Sex;
use crate::dice::Dice;

const FAMILY: [&str; 24] = [
    "王", "李", "张", "刘", "陈", "杨", "黄", "赵", "吴", "周", "徐", "孙", "马", "朱", "胡", "郭", "何", "林", "高",
    "罗", "郑", "梁", "谢", "宋",
];
const FEMALE: [&str; 20] = [
    "秀英", "桂兰", "玉兰", "桂英", "秀兰", "凤英", "淑珍", "丽华", "玉梅", "红梅", "春梅", "素芳", "慧敏", "月娥",
    "美玲", "淑华", "雅琴", "彩霞", "爱华", "翠萍",
];
const MALE: [&str; 20] = [
    "建国", "志强", "德明", "国强", "永福", "文斌", "振华", "家栋", "福生", "学军", "金水", "海涛", "庆祥", "兆林",
    "宝山", "长根", "荣生", "伟民", "光明", "正义",
];

/// Family name and given name.
pub(super) fn name(dice: &mut Dice, sex: Sex) -> String {
    let given = match sex {
        Sex::Female => &FEMALE,
        Sex::Male => &MALE,
    };
    format!("{}{}", dice.one_of(&FAMILY), dice.one_of(given))
}
